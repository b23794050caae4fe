"""Types of options, and options that several commands share."""
