"""Audio of a media file: time stamps, channels, length, speech."""
