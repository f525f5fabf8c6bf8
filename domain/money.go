package domain

import (
	"fmt"
	"math/big"
	"strconv"
)

// NanoUSD is an amount of money: 1,000,000,000 are one US dollar. In JSON it is
// a decimal string, because 64 bits do not fit a JavaScript number.
type NanoUSD int64

// NanoUSDPerMillion is a unit price per 1,000,000 tokens.
type NanoUSDPerMillion int64

// MarshalText implements encoding.TextMarshaler.
func (n NanoUSD) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(n), 10), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *NanoUSD) UnmarshalText(b []byte) error {
	v, err := strconv.ParseInt(string(b), 10, 64)
	*n = NanoUSD(v)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (n NanoUSDPerMillion) MarshalText() ([]byte, error) {
	return strconv.AppendInt(nil, int64(n), 10), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *NanoUSDPerMillion) UnmarshalText(b []byte) error {
	v, err := strconv.ParseInt(string(b), 10, 64)
	*n = NanoUSDPerMillion(v)
	return err
}

// USD prints the amount in dollars with six decimals.
func (n NanoUSD) USD() string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	return fmt.Sprintf("%s$%d.%06d", sign, n/1e9, (n%1e9)/1e3)
}

// charge sums tokens × price exactly and rounds once, half to even.
func charge(tokens []int64, prices []NanoUSDPerMillion) NanoUSD {
	sum, x, y := new(big.Int), new(big.Int), new(big.Int)
	for i, n := range tokens {
		sum.Add(sum, x.Mul(x.SetInt64(n), y.SetInt64(int64(prices[i]))))
	}
	million := big.NewInt(1_000_000)
	q, r := new(big.Int).QuoRem(sum, million, new(big.Int))
	switch twice := r.Lsh(r, 1).Cmp(million); {
	case twice > 0, twice == 0 && q.Bit(0) == 1:
		q.Add(q, big.NewInt(1))
	}
	return NanoUSD(q.Int64())
}
