/* Where a program starts; nothing built with this is run. */
extern int main(int, char **);
extern void __libc_init(void *, void (*)(void), int (*)(int, char **), void *);
void start_main(void *arguments);
void start_main(void *arguments) { __libc_init(arguments, 0, main, 0); }
#if defined(__aarch64__)
__asm__(".globl _start\n_start: mov x0, sp\n b start_main\n");
#elif defined(__arm__)
__asm__(".globl _start\n.thumb_func\n_start: mov r0, sp\n b start_main\n");
#else
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call start_main\n");
#endif
