"""The admin's pages: what people see of the queue, and what they may do to it."""
