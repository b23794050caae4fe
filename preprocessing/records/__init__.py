"""From clips to records: TFRecord shards, written whole or not at all."""
