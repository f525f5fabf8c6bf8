package postgres_test

import (
	"context"
	"errors"
	"testing"

	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/postgres"
	"github.com/hishamos/hishamos/internal/eventstore/storetest"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

func TestAStoreConnectsBeforeTheFirstAppendIfAsked(t *testing.T) {
	t.Parallel()
	connected := make(chan struct{}, 8)
	s := open(t, pgtest.New(t), postgres.Options{Connected: func(context.Context) error {
		connected <- struct{}{}
		return nil
	}})
	s.Connect()
	select {
	case <-connected:
	case <-t.Context().Done():
		t.Fatal("nothing connected")
	}
	appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
	if len(connected) > 0 {
		t.Error("the append connected once more")
	}
}

func TestAnEarlyConnectionThatFailsIsTriedAgainByTheAppend(t *testing.T) {
	t.Parallel()
	refused := make(chan struct{})
	first := true
	s := open(t, pgtest.New(t), postgres.Options{Connected: func(context.Context) error {
		if first {
			first = false
			close(refused)
			return errors.New("not yet")
		}
		return nil
	}})
	s.Connect()
	<-refused
	appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
}
