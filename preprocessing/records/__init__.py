"""From clips to records: TFRecord shards, written atomically."""
