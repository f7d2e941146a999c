package sqlite

// IndexAfter makes the full-text index receive so many messages at once. Call it before the first Update.
func (s *Store) IndexAfter(messages int64) { s.writer.indexAfter = messages }
