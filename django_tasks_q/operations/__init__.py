"""What people do to messages and ask about them, whoever asks: the admin and ``taskq`` go through here.

Messages are changed through the broker only, which has them whole; the records tell which ones are meant.
"""
