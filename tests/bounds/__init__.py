"""What a legal picture, a parcel or a broker can do to a real daemon: little, and nothing that stays.

witness.py        memory and honest frames while something is done to a daemon
test_pictures.py  what takes memory when it is decoded
"""
