"""What an exported model holds; read without TensorFlow."""
