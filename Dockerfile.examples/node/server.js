// Greets over HTTP; ends at SIGTERM as a program in a container should.
const express = require("express");

const app = express();
app.use(express.json());
app.get("/hello/:name", (request, response) => response.json({ hello: request.params.name }));
app.post("/sort", (request, response) => response.json(request.body.sort()));
const server = app.listen(3000);
process.on("SIGTERM", () => server.close(() => process.exit(0)));
