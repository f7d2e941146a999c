// Package secretfile keeps named secrets in a file that only its owner may read.
//
// The file is a JSON object of texts by name. A server keeps its generated secrets in this
// file and in no table: whoever has a stolen database, or a backup of it, cannot sign tokens.
//
//	file                                             outcome
//	missing                                          has no entries; Add makes it
//	object of texts that are not empty               its entries; unknown names are kept
//	empty, damaged, or with any other value          refused, and not changed
//	open to others, or no regular file               refused, and not changed
//
// A refused file may be all that is left of secrets in use. New secrets would end all access
// tokens and the tokens of all workers. The error therefore says what to do, and a person
// decides: restore the file, or remove it.
//
// # Writing
//
// Entries are added and never replaced. Processes that add entries at the same time
// take turns, and all of them get the entries of the first:
//
//	lock a file with the ending .lock ──► read the file ──► write all entries to a
//	temporary file, fsync ──► rename it over the file ──► fsync the directory ──► remove
//	the lock file
//
// A crash leaves the former file or the new one, and no file if there was none. It may
// leave the lock file and a temporary file, which the next writer removes. The lock is the
// system's (package filelock) and ends with its process. On a file system without locks,
// two processes that add the same entry at the same moment may end up with different secrets.
package secretfile
