package main

import (
	"testing"
	"time"

	"github.com/hishamos/hishamos/internal/config"
)

func TestEventsGatherOnTheirWayToKafkaOnlyIfNoStepWaitsForThat(t *testing.T) {
	t.Parallel()
	n := &node{ground: &ground{cfg: config.Config{RelayLinger: time.Second, Express: true}}}
	if d := n.relayLinger(); d != time.Second {
		t.Errorf("with the express lane they gather for %v", d)
	}
	n.cfg.Express = false
	if d := n.relayLinger(); d != 0 {
		t.Errorf("without it they gather for %v", d)
	}
}
