/* SPDX-License-Identifier: MIT */
#include "bpf.h"

#include <string.h>

/* Instructions that seccomp takes, whatever their operands. */
static bool is_known(uint16_t code)
{
	switch (code) {
	case BPF_RET | BPF_K: case BPF_RET | BPF_A:
	case BPF_ALU | BPF_ADD | BPF_K: case BPF_ALU | BPF_ADD | BPF_X:
	case BPF_ALU | BPF_SUB | BPF_K: case BPF_ALU | BPF_SUB | BPF_X:
	case BPF_ALU | BPF_MUL | BPF_K: case BPF_ALU | BPF_MUL | BPF_X:
	case BPF_ALU | BPF_DIV | BPF_K: case BPF_ALU | BPF_DIV | BPF_X:
	case BPF_ALU | BPF_AND | BPF_K: case BPF_ALU | BPF_AND | BPF_X:
	case BPF_ALU | BPF_OR | BPF_K: case BPF_ALU | BPF_OR | BPF_X:
	case BPF_ALU | BPF_XOR | BPF_K: case BPF_ALU | BPF_XOR | BPF_X:
	case BPF_ALU | BPF_LSH | BPF_K: case BPF_ALU | BPF_LSH | BPF_X:
	case BPF_ALU | BPF_RSH | BPF_K: case BPF_ALU | BPF_RSH | BPF_X:
	case BPF_ALU | BPF_NEG:
	case BPF_LD | BPF_W | BPF_ABS:
	case BPF_LD | BPF_W | BPF_LEN: case BPF_LDX | BPF_W | BPF_LEN:
	case BPF_LD | BPF_IMM: case BPF_LDX | BPF_IMM:
	case BPF_LD | BPF_MEM: case BPF_LDX | BPF_MEM:
	case BPF_ST: case BPF_STX:
	case BPF_MISC | BPF_TAX: case BPF_MISC | BPF_TXA:
	case BPF_JMP | BPF_JA:
	case BPF_JMP | BPF_JEQ | BPF_K: case BPF_JMP | BPF_JEQ | BPF_X:
	case BPF_JMP | BPF_JGE | BPF_K: case BPF_JMP | BPF_JGE | BPF_X:
	case BPF_JMP | BPF_JGT | BPF_K: case BPF_JMP | BPF_JGT | BPF_X:
	case BPF_JMP | BPF_JSET | BPF_K: case BPF_JMP | BPF_JSET | BPF_X:
		return true;
	default:
		return false;
	}
}

/* The operands of one instruction, `after` of which follow. */
static bool has_valid_operands(const struct sock_filter *insn, size_t after)
{
	switch (insn->code) {
	case BPF_LD | BPF_W | BPF_ABS:
		return insn->k < sizeof(struct seccomp_data) && insn->k % 4 == 0;
	case BPF_ALU | BPF_DIV | BPF_K:
		return insn->k != 0;
	case BPF_ALU | BPF_LSH | BPF_K: case BPF_ALU | BPF_RSH | BPF_K:
		return insn->k < 32;
	case BPF_LD | BPF_MEM: case BPF_LDX | BPF_MEM:
	case BPF_ST: case BPF_STX:
		return insn->k < BPF_MEMWORDS;
	case BPF_JMP | BPF_JA:
		return insn->k < after;
	default:
		return BPF_CLASS(insn->code) != BPF_JMP ||
			(insn->jt < after && insn->jf < after);
	}
}

/* No word of memory is read that is not written on every way there. */
static bool reads_what_it_wrote(const struct sock_filter *code, size_t length)
{
	uint16_t known[BPF_MAXINSNS], written = 0;

	memset(known, 0xff, sizeof(known));
	for (size_t i = 0; i < length; i++) {
		written &= known[i];
		switch (code[i].code) {
		case BPF_ST: case BPF_STX:
			written |= (uint16_t)(1u << code[i].k);
			break;
		case BPF_LD | BPF_MEM: case BPF_LDX | BPF_MEM:
			if (!(written & 1u << code[i].k))
				return false;
			break;
		case BPF_JMP | BPF_JA:
			known[i + 1 + code[i].k] &= written;
			written = UINT16_MAX;
			break;
		default:
			if (BPF_CLASS(code[i].code) != BPF_JMP)
				break;
			known[i + 1 + code[i].jt] &= written;
			known[i + 1 + code[i].jf] &= written;
			written = UINT16_MAX;
		}
	}
	return true;
}

bool ff_bpf_is_valid(const struct sock_filter *code, size_t length)
{
	if (length == 0 || length > BPF_MAXINSNS)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!is_known(code[i].code) ||
			!has_valid_operands(&code[i], length - 1 - i))
			return false;
	return BPF_CLASS(code[length - 1].code) == BPF_RET &&
		reads_what_it_wrote(code, length);
}

/* op is no division by zero. */
static uint32_t calculate(uint16_t op, uint32_t a, uint32_t b)
{
	switch (op) {
	case BPF_ADD:
		return a + b;
	case BPF_SUB:
		return a - b;
	case BPF_MUL:
		return a * b;
	case BPF_DIV:
		return a / b;
	case BPF_AND:
		return a & b;
	case BPF_OR:
		return a | b;
	case BPF_XOR:
		return a ^ b;
	case BPF_LSH:
		return a << (b & 31);
	case BPF_RSH:
		return a >> (b & 31);
	default: /* BPF_NEG */
		return -a;
	}
}

static bool compare(uint16_t op, uint32_t a, uint32_t b)
{
	switch (op) {
	case BPF_JEQ:
		return a == b;
	case BPF_JGT:
		return a > b;
	case BPF_JGE:
		return a >= b;
	default: /* BPF_JSET */
		return a & b;
	}
}

struct machine {
	uint32_t a, x, memory[BPF_MEMWORDS];
};

static uint32_t load(const struct machine *machine,
	const struct sock_filter *insn, const struct seccomp_data *data)
{
	uint32_t value;

	switch (BPF_MODE(insn->code)) {
	case BPF_ABS:
		memcpy(&value, (const char *)data + insn->k, sizeof(value));
		return value;
	case BPF_LEN:
		return sizeof(*data);
	case BPF_MEM:
		return machine->memory[insn->k];
	default: /* BPF_IMM */
		return insn->k;
	}
}

/* A valid program. */
static uint32_t run(const struct sock_filter *insn,
	const struct seccomp_data *data)
{
	struct machine m = { 0 };

	for (;; insn++) {
		uint32_t operand = BPF_SRC(insn->code) == BPF_X ? m.x : insn->k;

		switch (BPF_CLASS(insn->code)) {
		case BPF_RET:
			return BPF_RVAL(insn->code) == BPF_A ? m.a : insn->k;
		case BPF_LD:
			m.a = load(&m, insn, data);
			break;
		case BPF_LDX:
			m.x = load(&m, insn, data);
			break;
		case BPF_ST:
			m.memory[insn->k] = m.a;
			break;
		case BPF_STX:
			m.memory[insn->k] = m.x;
			break;
		case BPF_ALU:
			if (BPF_OP(insn->code) == BPF_DIV && operand == 0)
				return 0; /* the end, for classic BPF */
			m.a = calculate(BPF_OP(insn->code), m.a, operand);
			break;
		case BPF_JMP:
			if (BPF_OP(insn->code) == BPF_JA)
				insn += insn->k;
			else if (compare(BPF_OP(insn->code), m.a, operand))
				insn += insn->jt;
			else
				insn += insn->jf;
			break;
		default: /* BPF_MISC */
			if (BPF_MISCOP(insn->code) == BPF_TAX)
				m.x = m.a;
			else
				m.a = m.x;
		}
	}
}

uint32_t ff_bpf_run(const struct sock_filter *code, size_t length,
	const struct seccomp_data *data)
{
	return ff_bpf_is_valid(code, length) ? run(code, data) :
					       SECCOMP_RET_KILL_PROCESS;
}
