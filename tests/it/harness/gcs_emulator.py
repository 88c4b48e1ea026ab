"""Serves gcp-storage-emulator on a free loopback port, says which, and ends with the process that holds its stdin."""

import logging
import os
import socketserver
import sys

from gcp_storage_emulator.server import create_server

logging.disable(logging.CRITICAL)
# It serves one request at a time; many tests may wait their turn.
socketserver.TCPServer.request_queue_size = 128

server = create_server("127.0.0.1", 0, in_memory=True)
server.start()
print(server._api._httpd.server_address[1], flush=True)
sys.stdin.read()
os._exit(0)
