package memory

// BusQueue is how many events may wait for one subscriber.
const BusQueue = busQueue

// Windows counts the windows that a limiter holds.
func Windows(l *Limiter) (n int) {
	for i := range l.shards {
		n += len(l.shards[i].windows)
	}
	return n
}

// Subscribers counts those of a bus.
func Subscribers(b *Bus) int { return len(b.subscribers) }

// Listeners counts those of all parties.
func Listeners(h *Invalidator) int { return len(h.hub.listeners) }
