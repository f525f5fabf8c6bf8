//go:build !next

package projections

// The version of the read model runs, and how queries name its live build.
const (
	runsVersion = 4
	liveRuns    = `live_build('runs', 4)`
)
