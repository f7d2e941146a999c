package memory

// Windows counts the windows that a limiter holds.
func Windows(l *Limiter) (n int) {
	for i := range l.shards {
		n += len(l.shards[i].windows)
	}
	return n
}
