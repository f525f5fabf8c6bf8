package api

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/telemetry"
)

// limitWindow is the time over which a rate is averaged: a caller that was quiet
// may send this much at once.
const limitWindow = 10 * time.Second

// maxBuckets bounds the memory of a limiter.
const maxBuckets = 100_000

var errRate = &domain.Error{
	Kind: domain.Exhausted, Code: "request.rate_limited", Message: "there were too many requests",
	Fix: "wait as long as Retry-After says; RateLimit tells how many are left",
}

// limiter counts the requests of every caller against one rate, in token
// buckets (RateLimit headers of draft-ietf-httpapi-ratelimit-headers).
type limiter struct {
	name      string // of the policy
	perSecond int

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
}

func newLimiter(name string, perSecond int) *limiter {
	if perSecond <= 0 {
		return nil
	}
	return &limiter{name: name, perSecond: perSecond, buckets: map[string]*rate.Limiter{}}
}

func (l *limiter) quota() int { return l.perSecond * int(limitWindow/time.Second) }

// bucket finds the bucket of a caller. Full buckets are as good as none, so they
// go first when there are too many.
func (l *limiter) bucket(caller string, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b, ok := l.buckets[caller]; ok {
		return b
	}
	if len(l.buckets) >= maxBuckets {
		for name, b := range l.buckets {
			if b.TokensAt(now) >= float64(l.quota()) {
				delete(l.buckets, name)
			}
		}
	}
	if len(l.buckets) >= maxBuckets { // all at work: whoever is dropped begins with a full one
		for name := range l.buckets {
			delete(l.buckets, name)
			break
		}
	}
	b := rate.NewLimiter(rate.Limit(l.perSecond), l.quota())
	l.buckets[caller] = b
	return b
}

// take counts one request. Wait is how long to wait when there is none left.
func (l *limiter) take(caller string, now time.Time) (left int, full, wait time.Duration) {
	b := l.bucket(caller, now)
	ok := b.AllowN(now, 1)
	tokens := b.TokensAt(now)
	full = l.time(float64(l.quota()) - tokens)
	if !ok {
		wait = max(l.time(1-tokens), time.Millisecond)
	}
	return max(0, int(tokens)), full, wait
}

func (l *limiter) time(tokens float64) time.Duration {
	return time.Duration(tokens / float64(l.perSecond) * float64(time.Second))
}

func seconds(d time.Duration) string {
	return strconv.Itoa(int(math.Ceil(max(0, d).Seconds())))
}

// limit counts a request against the rates of its token and its tenant, and
// says in the answer's headers what is left.
func (s *server) limit(ctx context.Context, c *call) error {
	now := s.Clock.Now()
	var refused time.Duration
	for _, one := range []struct {
		*limiter
		caller string
	}{{s.perToken, string(c.token)}, {s.perTenant, string(c.principal.Tenant)}} {
		if one.limiter == nil {
			continue
		}
		left, full, wait := one.take(one.caller, now)
		c.header.Add("RateLimit-Policy", fmt.Sprintf(`"%s";q=%d;w=%d`, one.name, one.quota(), int(limitWindow/time.Second)))
		c.header.Add("RateLimit", fmt.Sprintf(`"%s";r=%d;t=%s`, one.name, left, seconds(full)))
		refused = max(refused, wait)
	}
	if refused == 0 {
		return nil
	}
	p := newProblem(errRate)
	p.Request = telemetry.Value(ctx, telemetry.Request)
	p.header = http.Header{"Retry-After": {seconds(refused)}}
	return p
}
