package workqueue

import "sync"

// ForEach calls fn for 0 to n-1, at most limit at a time, and waits for all. spawn runs
// one call.
func ForEach(n, limit int, spawn func(func()), fn func(i int)) {
	slots := make(chan struct{}, limit)
	var all sync.WaitGroup
	for i := range n {
		all.Add(1)
		slots <- struct{}{}
		spawn(func() {
			defer func() { <-slots; all.Done() }()
			fn(i)
		})
	}
	all.Wait()
}
