CREATE TABLE fruit (name text PRIMARY KEY, price numeric NOT NULL CHECK (price > 0));
INSERT INTO fruit VALUES ('apple', 0.50), ('fig', 0.80), ('pear', 0.65);
CREATE INDEX ON fruit (price);
