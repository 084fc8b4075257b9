"""Frames and questions over HTTP. In the order in which a connection meets them:

server.py      accepts, and stops: a thread for each connection; as the configuration has it
doors.py       where it comes in: a TCP port, with TLS or without, and a unix socket
crowd.py       who is connected, and who must go when the next one has no room
connection.py  one connection: requests are read, let in or refused, and answered
reading.py     from bytes to a request: h11's grammar, our bounds, one deadline, room for bodies
guard.py       who is let in over TCP: by a token, not from the pages of others, and not too often
message.py     heading, request, reply, stream, refusal; all speak in these
routing.py     from method and path to what answers, from what it raises to a status
routes.py      what answers: the calls of the service; openapi.json describes them
forms.py       what a request carries beside its path: numbers, JSON, multipart

h11 is imported in reading.py alone, multipart in forms.py. Down to routing.py nothing knows of the service.
"""
