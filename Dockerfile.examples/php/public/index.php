<?php
// Guests are kept in a database file.
$db = new PDO("sqlite:/tmp/guests.db");
$db->exec("CREATE TABLE IF NOT EXISTS guests (name TEXT)");
if (isset($_POST["name"])) {
    $db->prepare("INSERT INTO guests VALUES (?)")->execute([$_POST["name"]]);
}
foreach ($db->query("SELECT name FROM guests ORDER BY name") as $guest) {
    echo "Hello, ", htmlspecialchars($guest["name"]), "!\n";
}
