//go:build next

package projections

// The build with the tag next, which a drill runs beside this one, has the read
// model runs in another version.
const (
	runsVersion = 5
	liveRuns    = `live_build('runs', 5)`
)
