"""What tests share: fake corpora, tiny models, servers and clients."""
