"""The sample corpus: synthetic faces and voices that vary with speaker and emotion."""
