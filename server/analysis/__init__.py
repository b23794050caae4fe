"""`POST /v1/analyze`: uploads, analysed in processes that can be killed."""
