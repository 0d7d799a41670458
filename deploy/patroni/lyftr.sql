-- lyftr's role and database, once, on the primary:
-- psql --set=password="$LYFTR_PASSWORD" --file=lyftr.sql
\set ON_ERROR_STOP on
CREATE ROLE lyftr LOGIN PASSWORD :'password';
CREATE DATABASE lyftr OWNER lyftr;
