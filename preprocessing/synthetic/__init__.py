"""The sample corpus: SYNTHETIC faces and voices that vary with speaker and emotion."""
