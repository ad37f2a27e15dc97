"""Statements for other systems are recognised as such, and those of PostgreSQL are not."""

import pytest

from pgdoctor.preflight.judge import Verdict
from tests.preflight.judging import judge

OTHERS = [
    ("create table `t` (`id` int)", "MySQL (backticks)"),
    ("create table t (id int(11) not null auto_increment)", "MySQL (AUTO_INCREMENT)"),
    ("create table t (id int) engine=InnoDB", "MySQL (ENGINE=)"),
    ("create table t (a datetime not null)", "MySQL or SQL Server (DATETIME)"),
    ("alter table t modify a int", "MySQL or Oracle (MODIFY)"),
    ("alter table t change a b int", "MySQL (CHANGE)"),
    ("delimiter //", "MySQL (DELIMITER)"),
    ("create table [dbo].[t] ([id] int)", "SQL Server (names in square brackets)"),
    ("alter table [t] add a int", "SQL Server (names in square brackets)"),
    ("create table t (id int identity(1,1))", "SQL Server (IDENTITY())"),
    ("alter table t add a nvarchar(max)", "SQL Server (NVARCHAR)"),
    ("alter table t add a int\nGO\nalter table t add b int", "SQL Server (GO)"),
    ("create table t (a varchar2(10))", "Oracle (VARCHAR2)"),
    ("create table t (id integer primary key autoincrement)", "SQLite (AUTOINCREMENT)"),
]

OWN = [
    "create table t (datetime timestamptz, tinyint int, clob text)",
    "alter table t add datetime timestamptz",
    "alter table t rename engine to clob",
    "create table t (id int generated always as identity (start 5))",
    "select array[[a],[b]] from t where c[1] = d[a]",
    "comment on table t is 'AUTO_INCREMENT `x` [y]'",
    "create table t (a int[], b text[]) -- ENGINE=InnoDB",
]


@pytest.mark.parametrize(("statement", "says"), OTHERS)
def test_statement_for_another_system_is_unknown(statement: str, says: str) -> None:
    judged = judge(statement)[0]
    assert judged.verdict is Verdict.UNKNOWN
    assert judged.reasons == (f"written for {says}: PostgreSQL would refuse it, or read it otherwise",)


@pytest.mark.parametrize("statement", OWN)
def test_statement_for_postgresql_is_not_taken_for_another(statement: str) -> None:
    assert "written for" not in str(judge(statement)[0].reasons)
