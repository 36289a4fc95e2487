"""Greets, and says in what it runs."""

import getpass
import os
import subprocess
import sys

words = open("words.txt").read().split()
print(f"{os.environ['GREETING']}, {' '.join(sys.argv[1:])}!")
print("version", open("version").read().strip(), "words", words)
print("user", getpass.getuser(), "uid", os.getuid(), "in", os.getcwd())
print("files", sorted(os.listdir(".")))
shell = subprocess.run(["sh", "-c", "echo $((6 * 7)) | tr 0-9 a-j"], capture_output=True, text=True)
print("shell", shell.stdout.strip(), shell.returncode)
