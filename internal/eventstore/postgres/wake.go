package postgres

import (
	"context"
	"strconv"
	"time"
)

// listen passes on the announcements of all processes, and connects again when
// its connection breaks: then it wakes the reader too, because one may have been
// missed.
func (s *Store) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.listenOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		s.opts.Logger.Warn("listen for events", "error", err)
		retry := time.NewTimer(500 * time.Millisecond)
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
		}
	}
}

func (s *Store) listenOnce(ctx context.Context) error {
	conn, err := s.dial(ctx, map[string]string{
		"application_name": "hishamos listen", "tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3",
	})
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := conn.Close(closing); err != nil {
			s.opts.Logger.Debug("close the listening connection", "error", err)
		}
	}()
	if _, err := conn.Exec(ctx, "listen "+channel); err != nil {
		return err
	}
	s.signal()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		if at, err := strconv.ParseUint(n.Payload, 10, 64); err == nil && s.ours(at) {
			continue
		}
		s.signal()
	}
}

// ours reports whether whoever takes commits has been handed a position, or is
// about to be: an announcement may be faster than the answer. Should the batch
// under way turn out not to be committed, missed tells. The order matters: a batch
// counts as handed over before it is no longer under way.
func (s *Store) ours(position uint64) bool {
	return position == s.underWay.Load() || position <= s.handed.Load()
}
