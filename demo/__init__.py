"""The whole way once, on a desktop, with real pictures: `lastlayer demo`.

command.py      what is typed, and what is started and stopped: begin here
story.py        what is told, step by step, and the call that does each
pictures.py     what is shown: photographs inside scikit-learn, or one's own
processes.py    a broker and the daemon, on free ports
clients.py      one that posts pictures over HTTP, one that listens to MQTT

It talks to the daemon as anybody could, over HTTP and MQTT, and needs what no board has. It may import the agent, whose
command line finds it by its place; nothing of the agent imports it.
"""
