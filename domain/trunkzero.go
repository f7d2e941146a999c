package domain

// A trunk zero is the digit that callers within a country dial before a number. Many people write it
// into the international form too: +44 (0)7911 123456. The account of that number is 447911123456.
//
// Which countries have a trunk zero is kept here as two short lists of calling codes. The alternative
// is github.com/nyaruka/phonenumbers at run time. Measured with its version 1.8.1, that costs 5.7 MB of
// binary, and 10 µs and 31 allocations a number, several times a send. A test compares the lists with
// that library's metadata instead.

// trunkZeroCodes lists the calling codes of countries where a number is dialled with a trunk zero.
var trunkZeroCodes = codeSet(
	"20", "27", "31", "32", "33", "40", "41", "43", "44", "46", "49", "51", "53", "54", "55", "57", "58",
	"60", "61", "62", "63", "64", "66", "81", "82", "84", "86", "90", "91", "92", "93", "94", "95", "98",
	"211", "212", "213", "218", "231", "232", "233", "234", "243", "249", "250", "251", "252", "254",
	"255", "256", "260", "261", "262", "263", "264", "265", "291", "353", "355", "358", "359", "370",
	"373", "374", "377", "380", "381", "382", "383", "385", "386", "387", "389", "421", "423", "508",
	"590", "591", "593", "594", "595", "596", "598", "686", "850", "855", "856", "880", "886", "961",
	"962", "963", "964", "966", "967", "970", "971", "972", "976", "977", "994", "995", "996",
)

// leadingZeroCodes lists the calling codes of countries without a trunk zero where numbers may begin
// with a zero of their own, such as 39 06… for Rome.
var leadingZeroCodes = codeSet(
	"39", "47", "225", "226", "227", "229", "241", "242", "247", "267", "268", "378", "501", "507", "676",
	"679", "687", "800", "853", "881", "888", "974", "992",
)

// codeSet returns the set of the codes.
func codeSet(codes ...string) map[string]bool {
	set := make(map[string]bool, len(codes))
	for _, c := range codes {
		set[c] = true
	}
	return set
}

// dropTrunkZero removes a trunk zero behind the calling code, in place. It returns false if there is a
// zero with which no number of that country begins.
func dropTrunkZero(digits []byte) ([]byte, bool) {
	n := callingCodeLength(digits)
	if len(digits) < n+2 || digits[n] != '0' || digits[0] == '0' {
		return digits, true
	}
	switch {
	case leadingZeroCodes[string(digits[:n])]:
		return digits, true
	case trunkZeroCodes[string(digits[:n])] && digits[n+1] != '0':
		return append(digits[:n], digits[n+1:]...), true
	}
	return digits, false
}

// callingCodeLength returns how many digits the calling code has with which an international number
// begins. The International Telecommunication Union assigns the codes; none is the beginning of another.
func callingCodeLength(digits []byte) int {
	if len(digits) < 2 {
		return len(digits)
	}
	if digits[0] == '1' || digits[0] == '7' {
		return 1
	}
	switch string(digits[:2]) {
	case "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48", "49",
		"51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66",
		"81", "82", "84", "86", "90", "91", "92", "93", "94", "95", "98":
		return 2
	}
	return 3
}
