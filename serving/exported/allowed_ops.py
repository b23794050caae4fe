"""TensorFlow operations that a served graph may contain, by name; all others are refused.

This is an allowlist, because TensorFlow 2.21 registers 1,910 operations and does not document which
of them read a file, wait or run foreign code (`Skipgram` reads one, `ReadFile` is not even marked
as stateful). It holds the operations in exports of our recipes and close variants of the same kind:
computed from their inputs alone, or needed by every SavedModel. Operations unknown to every build
of TensorFlow are not listed either.

Excluded on purpose, even if they look harmless: readers of files of any kind, data sets, queues,
stacks and barriers (they wait), stateful random numbers, optimizers, printing, summaries, protocol
buffers, anything for accelerators or other machines. Names and kinds: tensorflow/core/ops.
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Variables, functions, constants: the basis of an arithmetic SavedModel.
STRUCTURE = _names("""
    Assert AssignVariableOp Const DisableCopyOnRead EnsureShape Identity IdentityN NoOp Placeholder
    PlaceholderWithDefault PreventGradient ReadVariableOp ResourceGather ResourceGatherNd Snapshot
    StopGradient VarHandleOp VarIsInitializedOp VariableShape
""")
# Branches, loops and calls; the called functions are in the same graph and are checked as well.
CONTROL = _names("""
    Case If PartitionedCall StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile While
    Enter Exit LoopCond Merge NextIteration Switch
""")
# Restores the model's variables; only in the two functions that only the saver calls.
CHECKPOINT_OPS = _names("MergeV2Checkpoints RestoreV2 SaveV2 ShardedFilename ShardedFilespec")

ELEMENTWISE = _names("""
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 Angle ApproximateEqual Asin Asinh Atan Atan2 Atanh
    BesselI0 BesselI0e BesselI1 BesselI1e Betainc BitwiseAnd BitwiseOr BitwiseXor Cast Ceil
    ClipByValue Complex ComplexAbs Conj Cos Cosh Digamma Div DivNoNan Elu Equal Erf Erfc Erfinv Exp
    Expm1 Floor FloorDiv FloorMod Greater GreaterEqual Igamma Igammac Imag Inv Invert IsFinite IsInf
    IsNan LeakyRelu LeftShift Less LessEqual Lgamma Log Log1p LogicalAnd LogicalNot LogicalOr
    Maximum Minimum Mod Mul MulNoNan Ndtri Neg NextAfter NotEqual Polygamma PopulationCount Pow Real
    RealDiv Reciprocal Relu Relu6 RightShift Rint Round Rsqrt Select SelectV2 Selu Sigmoid Sign Sin
    Sinh Softplus Softsign Sqrt Square SquaredDifference Sub Tan Tanh ToBool TruncateDiv TruncateMod
    Xdivy Xlog1py Xlogy Zeta
""")
REDUCTIONS = _names("""
    All Any ApproxTopK ArgMax ArgMin Bincount Bucketize Cumprod Cumsum CumulativeLogsumexp
    DenseBincount EuclideanNorm HistogramFixedWidth InTopK InTopKV2 L2Loss LogSoftmax LowerBound Max
    Mean Min NthElement Prod RaggedBincount SegmentMax SegmentMaxV2 SegmentMean SegmentMin
    SegmentMinV2 SegmentProd SegmentProdV2 SegmentSum SegmentSumV2 Softmax Sum TopK TopKV2
    UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum UpperBound
""")
SHAPES = _names("""
    BatchToSpaceND Bitcast BroadcastArgs BroadcastGradientArgs BroadcastTo Concat ConcatOffset
    ConcatV2 DepthToSpace Diag DiagPart DynamicPartition DynamicStitch Empty ExpandDims
    ExtractImagePatches ExtractVolumePatches Fill Gather GatherNd GatherV2 InvertPermutation
    LinSpace ListDiff MatrixBandPart MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3
    MatrixDiagV2 MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 MirrorPad OneHot
    OnesLike Pack Pad PadV2 ParallelConcat ParallelDynamicStitch Range Rank Reshape Reverse
    ReverseSequence ReverseV2 Roll ScatterNd ScatterNdNonAliasingAdd Shape ShapeN Size Slice
    SpaceToBatchND SpaceToDepth Split SplitV Squeeze StridedSlice TensorScatterAdd TensorScatterMax
    TensorScatterMin TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate Tile Transpose
    Unique UniqueV2 UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex Where ZerosLike
""")
LINEAR_ALGEBRA = _names("""
    BatchMatMul BatchMatMulV2 BatchMatMulV3 Cholesky ConjugateTranspose Cross Einsum MatMul
    MatrixDeterminant MatrixInverse MatrixSolve MatrixTriangularSolve Qr SelfAdjointEigV2 Svd
""")
# Convolutions, pooling, normalisation, recurrence; a graph traced on a GPU contains Cudnn*.
NEURAL = _names("""
    AvgPool AvgPool3D BiasAdd BiasAddV1 Conv Conv2D Conv2DBackpropInput Conv3D
    Conv3DBackpropInputV2 CudnnRNN CudnnRNNV2 CudnnRNNV3 DepthwiseConv2dNative Dilation2D
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel FusedBatchNorm
    FusedBatchNormV2 FusedBatchNormV3 LRN MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax
    QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4
""")
# Random numbers from a seed among the inputs.
RANDOM = _names("""
    StatelessMultinomial StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomUniform
    StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2
    StatelessTruncatedNormal StatelessTruncatedNormalV2 StatelessRandomGetAlg
    StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg
""")
# Audio and images; Decode* read only the bytes of their inputs.
SIGNALS = _names("""
    AdjustContrastv2 AdjustHue AdjustSaturation AudioSpectrogram CropAndResize DecodeAndCropJpeg
    DecodeBmp DecodeImage DecodeJpeg DecodePng DecodeWav ExtractJpegShape FFT FFT2D FFT3D HSVToRGB
    IFFT IFFT2D IFFT3D IRFFT IRFFT2D IRFFT3D ImageProjectiveTransformV2 ImageProjectiveTransformV3
    Mfcc NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 RFFT RFFT2D RFFT3D RGBToHSV
    ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor ScaleAndTranslate
""")
# Lists of tensors in loops, and ragged and sparse tensors.
COLLECTIONS = _names("""
    EmptyTensorList RaggedFillEmptyRows RaggedGather RaggedRange RaggedTensorFromVariant
    RaggedTensorToSparse RaggedTensorToTensor RaggedTensorToVariant SparseConcat
    SparseFillEmptyRows SparseReorder SparseReshape SparseSegmentMean SparseSegmentSqrtN
    SparseSegmentSum SparseSlice SparseSplit SparseTensorDenseAdd SparseTensorDenseMatMul
    SparseToDense TensorListConcat TensorListConcatLists TensorListConcatV2 TensorListElementShape
    TensorListFromTensor TensorListGather TensorListGetItem TensorListLength TensorListPopBack
    TensorListPushBack TensorListPushBackBatch TensorListReserve TensorListResize
    TensorListScatter TensorListScatterIntoExistingList TensorListScatterV2 TensorListSetItem
    TensorListSplit TensorListStack
""")
STRINGS = _names("""
    AsString DecodeBase64 DecodeRaw EncodeBase64 ReduceJoin RegexFullMatch RegexReplace
    StaticRegexFullMatch StaticRegexReplace StringJoin StringLength StringLower StringNGrams
    StringSplit StringSplitV2 StringStrip StringToHashBucket StringToHashBucketFast
    StringToHashBucketStrong StringToNumber StringUpper Substr UnicodeDecode
    UnicodeDecodeWithOffsets UnicodeEncode UnicodeScript UnicodeTranscode UnsortedSegmentJoin
""")
# Tables filled from constants. Those filled from a file (InitializeTableFromTextFile) are excluded.
TABLES = _names("""
    AnonymousHashTable HashTableV2 InitializeTableV2 LookupTableFindV2 LookupTableImportV2
    LookupTableSizeV2
""")
# TensorFlow Text, an add-on: its tokenisers get the vocabulary as a tensor or a table.
TENSORFLOW_TEXT = _names("""
    CaseFoldUTF8 FastBertNormalize FastWordpieceTokenizeWithOffsets NormalizeUTF8
    NormalizeUTF8WithOffsetsMap RegexSplitWithOffsets SentencepieceOp SentencepieceTokenizeOp
    SentencepieceTokenizeWithOffsetsOp TFText>ByteSplitWithOffsets TFText>FastSentencepieceTokenize
    TFText>FastWordpieceDetokenize TFText>RoundRobinGenerateMasks TFText>RoundRobinTrim
    TFText>Utf8Binarize TFText>WhitespaceTokenizeWithOffsetsV2 UnicodeScriptTokenizeWithOffsets
    WhitespaceTokenizeWithOffsets WordpieceTokenizeWithOffsets
""")

ALLOWED_OPS = frozenset().union(
    STRUCTURE,
    CONTROL,
    CHECKPOINT_OPS,
    ELEMENTWISE,
    REDUCTIONS,
    SHAPES,
    LINEAR_ALGEBRA,
    NEURAL,
    RANDOM,
    SIGNALS,
    COLLECTIONS,
    STRINGS,
    TABLES,
    TENSORFLOW_TEXT,
)
