"""How frames and questions come in. A face only translates: what it is asked becomes a plain call of the service.

http/     requests over TCP, with TLS or without, and over a unix socket
mqtt/     frames, labels and commands from a broker, and what is exchanged with a desktop
folder/   pictures that are put into a folder

encoded.py   pictures that come as text, by HTTP or MQTT: base64, alone or in JSON

The faces do not know each other. They know agent.service and what lies below it; what builds the daemon knows them,
and imports mqtt/ only where a broker is configured: paho takes 8 MB.
"""
