"""Answers with what it was asked, as JSON."""

import getpass

from flask import Flask, jsonify, request

app = Flask(__name__)


@app.get("/hello/<name>")
def hello(name: str):
    return jsonify(hello=name, user=getpass.getuser())


@app.post("/sum")
def total():
    return jsonify(sum=sum(request.get_json()))
