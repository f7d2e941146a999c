package memory

// Windows returns the number of windows that a limiter holds.
func Windows(l *Limiter) (n int) {
	for i := range l.shards {
		n += l.shards[i].windows.Len()
	}
	return n
}

// Subscriptions returns the number of subscriptions of all members.
func Subscriptions(h *Invalidator) int { return len(h.hub.subscriptions) }
