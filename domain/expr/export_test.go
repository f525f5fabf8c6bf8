package expr

// MostRemembered is the bound of the memory of compiled expressions.
const MostRemembered = 2 * cacheSize

// Remembered returns how many compiled expressions are remembered.
func Remembered() int {
	programs.mu.RLock()
	defer programs.mu.RUnlock()
	return len(programs.young) + len(programs.old)
}
