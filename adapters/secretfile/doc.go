// Package secretfile keeps named secrets in a file that only its owner may read.
//
// The file is a JSON object of texts by name. Unknown names are kept. A server keeps its
// generated secrets in this file and in no table: whoever has a stolen database, or a
// backup of it, cannot sign tokens.
//
// # Writing
//
// Entries are added and never replaced. Processes that add entries at the same time
// take turns, and all of them get the entries of the first:
//
//	open or create the file, 0600 ──► lock it ──► read it again ──► write all entries
//	to a temporary file, fsync ──► rename it over the file ──► fsync the directory
//
// A crash leaves the former file or the new one. It may leave an empty file, which has
// no entries, and a temporary file, which the next writer removes. The lock is the
// system's (flock) and ends with its process. Without flock, two processes that add the
// same entry at the same moment may end up with different secrets.
package secretfile
