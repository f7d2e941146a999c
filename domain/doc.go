// Package domain holds the rules of Switchyard: which worker a session goes
// to, what a report from a worker may change, when a silent worker counts as
// lost, and what is to be done about it.
//
// It is pure. Values come in and decisions come out; the time is an argument;
// nothing here reads a clock, draws a random number, waits, logs, or talks to
// anything. The same input gives the same decision on every replica and in
// every test. Functions and methods without a lock in their documentation are
// safe for concurrent use as long as callers do not share the values they
// mutate.
package domain
