"""What makes pictures: worker processes, and the gateway's end of the line to them."""
