"""Files that strangers might send, by kind and by the reader that gets them."""
