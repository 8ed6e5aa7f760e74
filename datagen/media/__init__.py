"""Files with pictures and sound: opened, bounded, read and written."""
