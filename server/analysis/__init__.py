"""`POST /v1/analyze`: uploads, analysed in killable processes."""
