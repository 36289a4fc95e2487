import os
import socket

import numpy as np

a = np.arange(1.0, 10.0).reshape(3, 3) + np.eye(3)
print(np.linalg.solve(a, a @ [1, 2, 3]).round(6).tolist())
print(np.fft.ifft(np.fft.fft([1, 2, 3, 4])).real.round(6).tolist())
print("user", os.getuid(), "in", os.getcwd())
for address in [("192.0.2.1", 80), ("127.0.0.1", 22)]:
    try:
        socket.create_connection(address, timeout=5)
        print("connected")
    except OSError as error:
        print(error.strerror)
try:
    bytearray(1 << 30)
except MemoryError:
    print("no memory")
