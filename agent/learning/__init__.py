"""The examples on flash, and the head made from them."""
