package expr

import "sync"

// programs remembers compiled expressions. It is invisible from outside: a
// program is a function of its source.
var programs cache

// cacheSize is how many programs a generation holds; the cache holds two.
const cacheSize = 2048

// cache is bounded by keeping two generations: when the young one is full it
// becomes the old one, and the old one is dropped. What is used moves back.
type cache struct {
	mu    sync.RWMutex
	young map[string]*program // guarded by mu
	old   map[string]*program // guarded by mu
}

func (c *cache) get(source string) (*program, bool) {
	c.mu.RLock()
	p, ok := c.young[source]
	if ok {
		c.mu.RUnlock()
		return p, true
	}
	p, ok = c.old[source]
	c.mu.RUnlock()
	if ok {
		c.put(source, p)
	}
	return p, ok
}

func (c *cache) put(source string, p *program) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= cacheSize || c.young == nil {
		c.old, c.young = c.young, make(map[string]*program, 64)
	}
	c.young[source] = p
}
