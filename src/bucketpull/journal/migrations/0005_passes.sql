-- How many passes a piece of work has had: "attempt" is what requests are counted by.
alter table work rename column attempt to passes;
