-- SPDX-License-Identifier: GPL-2.0-or-later
-- One long transaction which does not fit into the cache (so the journal is hot and the file is
-- written before the commit), savepoints, an index, a trigger. verify_bank() in table.py sees
-- whether all of it arrived.
.timeout 10000
PRAGMA cache_size = 20;
CREATE TABLE account (id INTEGER PRIMARY KEY, name TEXT, amount INTEGER NOT NULL);
CREATE TABLE entry (id INTEGER PRIMARY KEY, debit INTEGER, credit INTEGER, amount INTEGER);
CREATE INDEX entry_debit ON entry (debit, amount);
CREATE TRIGGER book AFTER INSERT ON entry BEGIN
	UPDATE account SET amount = amount - new.amount WHERE id = new.debit;
	UPDATE account SET amount = amount + new.amount WHERE id = new.credit;
END;
WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
INSERT INTO account SELECT i, printf('account %05d', i), 10000 FROM n;
BEGIN IMMEDIATE;
.once begun
SELECT 'begun';
WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < @half)
INSERT INTO entry SELECT i, i * 7919 % 1000 + 1, i * 104729 % 997 + 1, i * 31 % 89 FROM n;
SAVEPOINT half;
WITH RECURSIVE n (i) AS (VALUES (@half + 1) UNION ALL SELECT i + 1 FROM n WHERE i < @half + @half / 4)
INSERT INTO entry SELECT i, 1, 2, 1 FROM n;
SELECT 'before', count(*), sum(amount) FROM entry;
ROLLBACK TO half;
WITH RECURSIVE n (i) AS (VALUES (@half + 1) UNION ALL SELECT i + 1 FROM n WHERE i < 2 * @half)
INSERT INTO entry SELECT i, i * 104729 % 1000 + 1, i * 7919 % 997 + 1, i * 17 % 83 FROM n;
SELECT 'after', count(*), sum(amount) FROM entry;
COMMIT;
SELECT id, amount FROM account ORDER BY amount DESC, id LIMIT 10;
SELECT 'total', sum(amount) FROM account;
PRAGMA integrity_check;
