/* The Python interface of ecdsa_p384.h, with the limited API: one binary for every CPython from 3.11 on.
 *
 * Invariants
 * - No nonce becomes a Python object, and no function has one as an argument.
 * - A Key has the only copy of a private key that is made here, shows nothing of it, and wipes it when it is freed.
 * - Arguments of a wrong type or length raise TypeError or ValueError before anything is signed.
 * - The GIL is held while signing: a call takes a fifth of a millisecond, whereas reacquiring the GIL may take 5 ms
 *   (see benchmarks/README.md).
 */
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "ecdsa_p384.h"

typedef struct {
    PyObject_HEAD p384_scalar scalar;
} key_object;

typedef struct {
    PyTypeObject *key_type;
} module_state;

static module_state *state_of(PyObject *module)
{
    return PyModule_GetState(module);
}

/* The 48 bytes of a bytes object, or NULL with an exception that names the argument. */
static const uint8_t *exactly_48_bytes(PyObject *object, const char *name)
{
    char *bytes;
    Py_ssize_t size;

    if (!PyBytes_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be bytes", name);
        return NULL;
    }
    if (PyBytes_AsStringAndSize(object, &bytes, &size) < 0)
        return NULL;
    if (size != P384_BYTES) {
        PyErr_Format(PyExc_ValueError, "%s must have %d bytes, not %zd", name, P384_BYTES, size);
        return NULL;
    }
    return (const uint8_t *)bytes;
}

static PyObject *key_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *secret;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);

    if (kwargs != NULL && PyDict_Size(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "Key takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O:Key", &secret))
        return NULL;
    const uint8_t *bytes = exactly_48_bytes(secret, "the private key");
    if (bytes == NULL)
        return NULL;
    key_object *key = (key_object *)allocate(type, 0);
    if (key == NULL)
        return NULL;
    if (p384_read_scalar(&key->scalar, bytes) != 0) {
        Py_DECREF(key);
        PyErr_SetString(PyExc_ValueError, "the private key must be between 1 and the order of P-384 minus 1");
        return NULL;
    }
    return (PyObject *)key;
}

static void key_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    p384_wipe(&((key_object *)self)->scalar);
    release(self);
    Py_DECREF(type);
}

static PyType_Slot key_slots[] = {
    {Py_tp_doc, "Key(secret)\n--\n\nA P-384 private key, from its 48 big-endian bytes."},
    {Py_tp_new, key_new},
    {Py_tp_dealloc, key_dealloc},
    {0, NULL},
};

static PyType_Spec key_spec = {
    .name = "tokensvc.jose.signing._multibuffer.Key",
    .basicsize = sizeof(key_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = key_slots,
};

/* Read one (key, digest) pair. The results are valid as long as the pair is. */
static int read_lane(module_state *state, PyObject *pair, p384_lane *lane)
{
    if (!PyTuple_Check(pair) || PyTuple_Size(pair) != 2) {
        PyErr_SetString(PyExc_TypeError, "each request must be a tuple (Key, digest)");
        return -1;
    }
    PyObject *key = PyTuple_GetItem(pair, 0);
    if (key == NULL || !PyObject_TypeCheck(key, state->key_type)) {
        PyErr_SetString(PyExc_TypeError, "each request must begin with a Key");
        return -1;
    }
    lane->key = &((key_object *)key)->scalar;
    lane->digest = exactly_48_bytes(PyTuple_GetItem(pair, 1), "a digest");
    return lane->digest == NULL ? -1 : 0;
}

static PyObject *sign(PyObject *module, PyObject *requests)
{
    p384_lane lanes[P384_LANES];
    uint8_t signatures[P384_LANES][P384_SIGNATURE_BYTES];

    if (!PyTuple_Check(requests)) {
        PyErr_SetString(PyExc_TypeError, "the requests must be a tuple");
        return NULL;
    }
    const Py_ssize_t count = PyTuple_Size(requests);
    if (count < 1 || count > P384_LANES) {
        PyErr_Format(PyExc_ValueError, "there must be 1 to %d requests, not %zd", P384_LANES, count);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if (read_lane(state_of(module), PyTuple_GetItem(requests, i), &lanes[i]) < 0)
            return NULL;
    const unsigned failed = p384_sign((unsigned)count, lanes, signatures);
    PyObject *result = PyList_New(count);
    for (Py_ssize_t i = 0; i < count && result != NULL; i++) {
        PyObject *signature = Py_None;
        if (failed >> i & 1)
            Py_INCREF(signature);
        else
            signature = PyBytes_FromStringAndSize((const char *)signatures[i], P384_SIGNATURE_BYTES);
        if (signature == NULL || PyList_SetItem(result, i, signature) < 0)
            Py_CLEAR(result);
    }
    return result;
}

static PyObject *supported(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(p384_supported());
}

static PyObject *self_test(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    const int failed = p384_self_test();
    if (failed == 0) {
        /* Not Py_RETURN_NONE: with the headers of CPython 3.12 and 3.13.0 it takes no reference, as None is immortal
           there, and this extension also runs on 3.11. */
        Py_INCREF(Py_None);
        return Py_None;
    }
    return PyErr_Format(PyExc_RuntimeError, "step %d of the self-test gave a wrong signature", failed);
}

static PyMethodDef methods[] = {
    {"sign", sign, METH_O,
     "sign(requests)\n--\n\nSign a tuple of 1 to 8 (Key, digest) pairs, digests of 48 bytes. Returns a list of r||s "
     "signatures; None where there is none, since the digest is 0 or not below the order of P-384, or since the system "
     "gave no random bytes."},
    {"supported", supported, METH_NOARGS, "supported()\n--\n\nWhether this processor can run it."},
    {"self_test", self_test, METH_NOARGS,
     "self_test()\n--\n\nSign the known answers of RFC 6979, A.2.6, in every lane. Raises RuntimeError."},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    module_state *state = state_of(module);

    state->key_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &key_spec, NULL);
    if (state->key_type == NULL || PyModule_AddType(module, state->key_type) < 0)
        return -1;
    return PyModule_AddIntConstant(module, "LANES", P384_LANES);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    Py_VISIT(state_of(module)->key_type);
    return 0;
}

static int module_clear(PyObject *module)
{
    Py_CLEAR(state_of(module)->key_type);
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_multibuffer",
    .m_doc = "ECDSA over P-384, up to eight signatures in one call.",
    .m_size = sizeof(module_state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC PyInit__multibuffer(void)
{
    return PyModuleDef_Init(&definition);
}
